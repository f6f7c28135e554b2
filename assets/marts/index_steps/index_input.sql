-- Status and dynamics go the same way from here on; `figure` is the share or its change, `size` what it is a change of.
WITH both_kinds AS (
    SELECT
        index_id, of_year, area_id, indicator_id, 'status' AS dimension, direction, share, value AS figure,
        abs(value) AS size, gap, interval_method,
        variance, denominator, variance AS variance_now, CAST(NULL AS DOUBLE) AS earlier_denominator,
        CAST(0 AS DOUBLE) AS variance_then, origin_rank, data_as_of, delivery_ids
    FROM index_figure
    UNION ALL
    SELECT
        index_id, of_year, area_id, indicator_id, 'dynamics' AS dimension, direction, share, change AS figure,
        change_size AS size, change_gap AS gap, interval_method,
        CASE WHEN NOT change_delivered THEN variance + earlier_variance END AS variance, denominator,
        variance AS variance_now, earlier_denominator, earlier_variance AS variance_then,
        change_origin_rank AS origin_rank, change_data_as_of AS data_as_of, change_delivery_ids AS delivery_ids
    FROM index_figure
    WHERE has_dynamics
),

-- Per area the one reason that counts, over all indicators; an area without its status has no dynamics either.
whole AS (
    SELECT
        index_id, of_year, area_id, dimension,
        CASE
            WHEN bool_or(gap = 'confidential') THEN 'confidential'
            WHEN bool_or(gap = 'missing_indicator') THEN 'missing_indicator'
            WHEN bool_or(gap = 'series_break') THEN 'series_break'
        END AS gap
    FROM both_kinds
    GROUP BY index_id, of_year, area_id, dimension
)

SELECT
    b.index_id, b.of_year, b.area_id, b.indicator_id, b.dimension, b.direction, b.share, b.figure, b.size,
    b.interval_method, b.variance, b.denominator, b.variance_now, b.earlier_denominator, b.variance_then,
    b.origin_rank, b.data_as_of, b.delivery_ids, c.of_universe_level,
    coalesce(c.refusal, s.gap, w.gap) AS gap,
    c.of_universe_level AND c.refusal IS NULL AND s.gap IS NULL AND w.gap IS NULL AS in_universe
FROM both_kinds AS b
JOIN index_candidate AS c ON c.index_id = b.index_id AND c.of_year = b.of_year AND c.area_id = b.area_id
JOIN whole AS w
    ON w.index_id = b.index_id AND w.of_year = b.of_year AND w.area_id = b.area_id AND w.dimension = b.dimension
JOIN whole AS s
    ON s.index_id = b.index_id AND s.of_year = b.of_year AND s.area_id = b.area_id AND s.dimension = 'status'
