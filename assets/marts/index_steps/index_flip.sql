{% import "index_steps/macros.sql" as f %}
-- The index of an area with one case more or fewer in one indicator, exactly: in the universe its mean and standard
-- deviation move along (z' = alpha z + beta, plus gamma for the area itself), outside only the area's own value does.
WITH moments AS (
    SELECT
        z.index_id, z.of_year, z.indicator_id,
        {{ f.total('p.index_value * z.z') }} / count(*) AS r
    FROM index_score AS z
    JOIN index_position AS p
        ON p.index_id = z.index_id AND p.of_year = z.of_year AND p.area_id = z.area_id AND p.dimension = z.dimension
    WHERE z.in_universe AND z.dimension = 'status'
    GROUP BY z.index_id, z.of_year, z.indicator_id
),

cases AS (SELECT 1.0e0 AS more UNION ALL SELECT -1.0e0 AS more),

changed AS (
    SELECT
        z.index_id, z.of_year, z.area_id, z.in_universe, z.share, z.z, z.sd AS s, CAST(z.n AS DOUBLE) AS n, m.r,
        p.z_sum, p.sd, p.above, p.above_included, p.upper, p.upper_included, f.numerator IS NULL AS uncounted,
        -- shift of the z-score before mean and standard deviation follow
        z.direction * f.factor * c.more / nullif(f.denominator, 0.0e0) / nullif(z.sd, 0.0e0) AS shift
    FROM index_score AS z
    JOIN index_position AS p
        ON p.index_id = z.index_id AND p.of_year = z.of_year AND p.area_id = z.area_id AND p.dimension = z.dimension
    JOIN index_figure AS f
        ON f.index_id = z.index_id AND f.of_year = z.of_year AND f.area_id = z.area_id
        AND f.indicator_id = z.indicator_id
    JOIN indicator AS i ON i.indicator_id = z.indicator_id
    JOIN moments AS m ON m.index_id = z.index_id AND m.of_year = z.of_year AND m.indicator_id = z.indicator_id
    CROSS JOIN cases AS c
    WHERE z.dimension = 'status' AND p.class_id IS NOT NULL
        AND (
            f.numerator IS NULL
            OR (f.numerator + c.more >= 0.0e0 AND (NOT i.part_of_whole OR f.numerator + c.more <= f.denominator))
        )
),

-- alpha = s / s', with s'^2 = s^2 (1 + 2 shift z / n + shift^2 (n - 1) / n^2)
stretched AS (
    SELECT
        index_id, of_year, area_id, in_universe, share, z, n, r, z_sum, sd, above, above_included, upper,
        upper_included, uncounted, shift,
        1.0e0 / nullif(
            sqrt(greatest(1.0e0 + 2.0e0 * shift * z / n + shift * shift * (n - 1.0e0) / (n * n), 0.0e0)), 0.0e0
        ) AS alpha
    FROM changed
),

-- `rest`: the area's sum without its own jump gamma = shift * alpha; beta = -gamma / n
moved AS (
    SELECT
        index_id, of_year, area_id, in_universe, share, n, r, z_sum, sd, above, above_included, upper, upper_included,
        uncounted, shift, alpha,
        z_sum + share * ((alpha - 1.0e0) * z - shift * alpha / n) AS rest
    FROM stretched
),

results AS (
    SELECT
        index_id, of_year, area_id, above, above_included, upper, upper_included, uncounted,
        round(CASE
            WHEN NOT in_universe THEN (z_sum + share * shift) / nullif(sd, 0.0e0)
            ELSE (rest + share * shift * alpha) / nullif(sqrt(greatest(
                sd * sd
                + share * share * ((alpha - 1.0e0) * (alpha - 1.0e0) + shift * alpha * shift * alpha / (n * n))
                + 2.0e0 * share * (alpha - 1.0e0) * sd * r
                + (2.0e0 * share * shift * alpha * rest + share * shift * alpha * share * shift * alpha) / n, 0.0e0
            )), 0.0e0)
        END, 9) AS index_value
    FROM moved
)

SELECT
    index_id, of_year, area_id,
    CASE
        WHEN bool_or(
            NOT uncounted AND NOT coalesce(
                (above IS NULL OR index_value > above OR (above_included AND index_value = above))
                AND (upper IS NULL OR index_value < upper OR (upper_included AND index_value = upper)), FALSE
            )
        ) THEN TRUE
        -- nobody can tell where an indicator is published without counts
        WHEN NOT bool_or(uncounted) THEN FALSE
    END AS one_case_flips
FROM results
GROUP BY index_id, of_year, area_id
