{% import "index_steps/macros.sql" as f %}
-- Weighted sum of the z-scores, standardised once more over the universe.
WITH sums AS (
    SELECT
        index_id, of_year, area_id, dimension, in_universe, of_universe_level, n,
        -- One indicator without spread, and there is no sum.
        CASE WHEN count(z) = count(*) THEN {{ f.total('share * z') }} END AS z_sum,
        CASE WHEN count(blur) = count(*) THEN {{ f.total('share * z * dim') }} END AS dim_sum,
        {{ f.total('share * share * blur * dim * dim') }} AS blur
    FROM index_score
    GROUP BY index_id, of_year, area_id, dimension, in_universe, of_universe_level, n
),

means AS (
    SELECT index_id, of_year, dimension, {{ f.total('z_sum') }} / count(*) AS mean
    FROM sums
    WHERE in_universe
    GROUP BY index_id, of_year, dimension
),

spreads AS (
    SELECT
        s.index_id, s.of_year, s.dimension, m.mean,
        sqrt({{ f.total('(s.z_sum - m.mean) * (s.z_sum - m.mean)') }} / count(*)) AS sd,
        sqrt({{ f.total('s.dim_sum * s.dim_sum') }} / count(*) + max(s.blur)) AS dim_sd
    FROM sums AS s
    JOIN means AS m ON m.index_id = s.index_id AND m.of_year = s.of_year AND m.dimension = s.dimension
    WHERE s.in_universe
    GROUP BY s.index_id, s.of_year, s.dimension, m.mean
)

SELECT
    s.index_id, s.of_year, s.area_id, s.dimension, s.in_universe, s.n, s.z_sum - p.mean AS z_sum, p.sd,
    -- z-scores that cancel each other out leave nothing to standardise.
    CASE WHEN p.sd > 1.0e-9 THEN (s.z_sum - p.mean) / nullif(p.sd, 0.0e0) END AS index_value,
    p.dim_sd, CASE WHEN p.sd > 1.0e-9 THEN s.dim_sum / nullif(p.dim_sd, 0.0e0) END AS dim_value
FROM sums AS s
JOIN spreads AS p ON p.index_id = s.index_id AND p.of_year = s.of_year AND p.dimension = s.dimension
