-- The class in which an index lies; compared after rounding to nine places, so that last digits decide nothing.
SELECT
    s.index_id, s.of_year, s.area_id, s.dimension, s.in_universe, s.n, s.z_sum, s.sd, s.index_value, s.dim_sd,
    s.dim_value, c.class_id, c.above, c.above_included, c.upper, c.upper_included
FROM index_sum AS s
LEFT JOIN index_class_in AS c
    ON c.index_id = s.index_id AND c.dimension = s.dimension
    AND (
        c.above IS NULL OR round(s.index_value, 9) > c.above
        OR (c.above_included AND round(s.index_value, 9) = c.above)
    )
    AND (
        c.upper IS NULL OR round(s.index_value, 9) < c.upper
        OR (c.upper_included AND round(s.index_value, 9) = c.upper)
    )
    AND s.index_value IS NOT NULL
