{% import "index_steps/macros.sql" as f %}
-- Mean and population standard deviation of every indicator over the universe, unweighted, in two passes.
WITH members AS (
    SELECT index_id, of_year, dimension, indicator_id, figure, size, variance
    FROM index_input
    WHERE in_universe
),

tops AS (
    SELECT index_id, of_year, dimension, indicator_id, count(*) AS n, max(size) AS size, max(abs(figure)) AS top
    FROM members
    GROUP BY index_id, of_year, dimension, indicator_id
),

means AS (
    SELECT
        m.index_id, m.of_year, m.dimension, m.indicator_id, t.n, t.size,
        coalesce(t.top * {{ f.total('m.figure / nullif(t.top, 0.0e0)') }} / t.n, 0.0e0) AS mean
    FROM members AS m
    JOIN tops AS t
        ON t.index_id = m.index_id AND t.of_year = m.of_year AND t.dimension = m.dimension
        AND t.indicator_id = m.indicator_id
    GROUP BY m.index_id, m.of_year, m.dimension, m.indicator_id, t.n, t.size, t.top
),

reaches AS (
    SELECT
        m.index_id, m.of_year, m.dimension, m.indicator_id, a.n, a.size, a.mean, max(abs(m.figure - a.mean)) AS reach
    FROM members AS m
    JOIN means AS a
        ON a.index_id = m.index_id AND a.of_year = m.of_year AND a.dimension = m.dimension
        AND a.indicator_id = m.indicator_id
    GROUP BY m.index_id, m.of_year, m.dimension, m.indicator_id, a.n, a.size, a.mean
),

-- Differences that are nothing but the last digits of a quotient are no spread.
spreads AS (
    SELECT
        m.index_id, m.of_year, m.dimension, m.indicator_id, r.n, r.mean,
        CASE WHEN r.reach > 1.0e-9 * r.size THEN
            r.reach * sqrt({{ f.total('power((m.figure - r.mean) / nullif(r.reach, 0.0e0), 2.0e0)') }} / r.n)
        END AS sd
    FROM members AS m
    JOIN reaches AS r
        ON r.index_id = m.index_id AND r.of_year = m.of_year AND r.dimension = m.dimension
        AND r.indicator_id = m.indicator_id
    GROUP BY m.index_id, m.of_year, m.dimension, m.indicator_id, r.n, r.mean, r.reach, r.size
),

-- What chance adds to the spread: mean binomial variance over that of the shares (for the certainty of classes).
blurs AS (
    SELECT
        m.index_id, m.of_year, m.dimension, m.indicator_id,
        CASE WHEN count(m.variance) = count(*) THEN
            {{ f.total('least(m.variance / nullif(s.sd * s.sd, 0.0e0), 1.0e9)') }} / count(*)
            * (1.0e0 - 1.0e0 / count(*))
        END AS blur
    FROM members AS m
    JOIN spreads AS s
        ON s.index_id = m.index_id AND s.of_year = m.of_year AND s.dimension = m.dimension
        AND s.indicator_id = m.indicator_id
    GROUP BY m.index_id, m.of_year, m.dimension, m.indicator_id
)

SELECT
    s.index_id, s.of_year, s.dimension, s.indicator_id, s.n, s.mean, s.sd, b.blur
FROM spreads AS s
JOIN blurs AS b
    ON b.index_id = s.index_id AND b.of_year = s.of_year AND b.dimension = s.dimension
    AND b.indicator_id = s.indicator_id
WHERE s.n >= 10
