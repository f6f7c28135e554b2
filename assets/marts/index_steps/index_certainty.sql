{% import "index_steps/macros.sql" as f %}
-- How a class stands when every count of the universe and of the area varies binomially: the index is linearised in all
-- of them (delta method) around its mean under chance, with the spread that chance adds.
WITH scored AS (
    SELECT
        z.index_id, z.of_year, z.area_id, z.dimension, z.indicator_id, z.in_universe, z.n, z.interval_method,
        z.share, z.blur, z.dim, z.z * z.dim AS z, z.q * z.dim * z.dim AS q, z.q_now * z.dim * z.dim AS q_now,
        z.q_then * z.dim * z.dim AS q_then, z.denominator, z.earlier_denominator, p.dim_value AS i, p.dim_sd
    FROM index_score AS z
    JOIN index_position AS p
        ON p.index_id = z.index_id AND p.of_year = z.of_year AND p.area_id = z.area_id AND p.dimension = z.dimension
    WHERE p.class_id IS NOT NULL
),

-- Moments over the universe; empty as soon as one area has no counts.
moments AS (
    SELECT
        index_id, of_year, dimension, indicator_id,
        {{ f.total('i * z') }} / count(*) + max(share * blur * dim * dim / nullif(dim_sd, 0.0e0)) AS r,
        {{ f.total('q') }} AS q, {{ f.total('q * z') }} AS qz, {{ f.total('q * i') }} AS qi,
        {{ f.total('q * z * z') }} AS qzz, {{ f.total('q * i * i') }} AS qii, {{ f.total('q * z * i') }} AS qzi, count(q) = count(*) AS counted,
        bool_or(interval_method <> 'wilson') AS no_proportion
    FROM scored
    WHERE in_universe
    GROUP BY index_id, of_year, dimension, indicator_id
),

-- Counts that an area shares with the universe: its own, or those of the areas of which it consists.
parts AS (
    SELECT m.area_id, m.parent_id, m.weight, m.valid_from, m.valid_to FROM membership AS m
    UNION ALL
    SELECT m.area_id, o.parent_id, m.weight * o.weight AS weight,
        greatest(m.valid_from, o.valid_from) AS valid_from, least(m.valid_to, o.valid_to) AS valid_to
    FROM membership AS m
    JOIN membership AS o ON o.area_id = m.parent_id
),

ways AS (
    SELECT c.index_id, c.of_year, p.area_id, p.parent_id, max(p.weight) AS weight
    FROM index_candidate AS c
    JOIN parts AS p ON p.parent_id = c.area_id
    WHERE NOT c.of_universe_level
        AND (p.valid_from IS NULL OR p.valid_from <= c.reference_date)
        AND (p.valid_to IS NULL OR p.valid_to >= c.reference_date)
    GROUP BY c.index_id, c.of_year, p.area_id, p.parent_id
),

shared AS (
    SELECT index_id, of_year, area_id, dimension, indicator_id, q, q * z AS qz, q * i AS qi
    FROM scored
    WHERE in_universe
    UNION ALL
    SELECT
        w.index_id, w.of_year, w.parent_id AS area_id, s.dimension, s.indicator_id,
        w.weight * (
            s.q_now * coalesce(s.denominator / nullif(g.denominator, 0.0e0), 0.0e0)
            + s.q_then * coalesce(s.earlier_denominator / nullif(g.earlier_denominator, 0.0e0), 0.0e0)
        ) AS q,
        w.weight * (
            s.q_now * coalesce(s.denominator / nullif(g.denominator, 0.0e0), 0.0e0)
            + s.q_then * coalesce(s.earlier_denominator / nullif(g.earlier_denominator, 0.0e0), 0.0e0)
        ) * s.z AS qz,
        w.weight * (
            s.q_now * coalesce(s.denominator / nullif(g.denominator, 0.0e0), 0.0e0)
            + s.q_then * coalesce(s.earlier_denominator / nullif(g.earlier_denominator, 0.0e0), 0.0e0)
        ) * s.i AS qi
    FROM ways AS w
    JOIN scored AS s ON s.index_id = w.index_id AND s.of_year = w.of_year AND s.area_id = w.area_id AND s.in_universe
    JOIN scored AS g
        ON g.index_id = w.index_id AND g.of_year = w.of_year AND g.area_id = w.parent_id AND g.dimension = s.dimension
        AND g.indicator_id = s.indicator_id
),

in_common AS (
    SELECT
        index_id, of_year, area_id, dimension, indicator_id, {{ f.total('q') }} AS q, {{ f.total('qz') }} AS qz,
        {{ f.total('qi') }} AS qi
    FROM shared
    GROUP BY index_id, of_year, area_id, dimension, indicator_id
),

-- d index / d count = share / dim_sd * (own - (1 + a z + i I) / n), squared and summed over the counts.
terms AS (
    SELECT
        s.index_id, s.of_year, s.area_id, s.dimension, s.q, s.dim_sd, s.n, s.share, s.interval_method,
        m.counted AND s.q IS NOT NULL AS counted, m.no_proportion,
        s.q - 2.0e0 * (
            coalesce(o.q, 0.0e0) + (s.z - s.i * m.r) * coalesce(o.qz, 0.0e0) + s.i * coalesce(o.qi, 0.0e0)
        ) / s.n + (
            m.q + (s.z - s.i * m.r) * (s.z - s.i * m.r) * m.qzz + s.i * s.i * m.qii + 2.0e0 * (s.z - s.i * m.r) * m.qz
            + 2.0e0 * s.i * m.qi + 2.0e0 * (s.z - s.i * m.r) * s.i * m.qzi
        ) / (CAST(s.n AS DOUBLE) * s.n) AS term
    FROM scored AS s
    JOIN moments AS m
        ON m.index_id = s.index_id AND m.of_year = s.of_year AND m.dimension = s.dimension
        AND m.indicator_id = s.indicator_id
    LEFT JOIN in_common AS o
        ON o.index_id = s.index_id AND o.of_year = s.of_year AND o.area_id = s.area_id AND o.dimension = s.dimension
        AND o.indicator_id = s.indicator_id
),

variances AS (
    SELECT
        index_id, of_year, area_id, dimension, bool_and(counted) AS counted,
        bool_or(no_proportion OR interval_method <> 'wilson') AS no_proportion,
        sqrt(greatest({{ f.total('share * share * term') }}, 0.0e0)) / max(nullif(dim_sd, 0.0e0)) AS sd
    FROM terms
    GROUP BY index_id, of_year, area_id, dimension
),

limits AS (
    SELECT
        v.index_id, v.of_year, v.area_id, v.dimension, v.counted, v.no_proportion, v.sd,
        p.above IS NULL AS lowest, p.upper IS NULL AS highest,
        greatest(least((p.above - p.dim_value) / nullif(v.sd, 0.0e0), 38.0e0), -38.0e0) AS low,
        greatest(least((p.upper - p.dim_value) / nullif(v.sd, 0.0e0), 38.0e0), -38.0e0) AS high
    FROM variances AS v
    JOIN index_position AS p
        ON p.index_id = v.index_id AND p.of_year = v.of_year AND p.area_id = v.area_id AND p.dimension = v.dimension
)

SELECT
    index_id, of_year, area_id, dimension,
    CASE
        WHEN no_proportion THEN 'not_a_proportion'
        WHEN NOT counted THEN 'rate_only'
    END AS stability_gap,
    CASE
        WHEN no_proportion OR NOT counted THEN NULL
        WHEN sd = 0.0e0 THEN 1.0e0
        ELSE greatest(least(
            CASE WHEN highest THEN 1.0e0 ELSE {{ f.phi('high') }} END
            - CASE WHEN lowest THEN 0.0e0 ELSE {{ f.phi('low') }} END, 1.0e0
        ), 0.0e0)
    END AS stability
FROM limits
