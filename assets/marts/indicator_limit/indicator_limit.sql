{% import "macros.sql" as m %}
-- Only counts of cases carry a statistical uncertainty that can be told; estimated ones carry another besides.
WITH counts AS (
    SELECT
        f.indicator_id, f.area_id, f.period_type, f.reference_date, i.factor, i.interval_method,
        f.numerator AS x, f.denominator AS n,
        i.interval_method = 'byar_exact' AND f.numerator < 10 AS few
    FROM indicator_figure AS f
    JOIN indicator AS i ON i.indicator_id = f.indicator_id
    WHERE f.figure = 'counts' AND f.value IS NOT NULL AND f.method <> 'estimated' AND f.numerator >= 0
        AND i.unit <> 'persons' AND i.interval_method <> 'none'
        -- More cases than the whole has: a quotient, no share.
        AND (i.interval_method <> 'wilson' OR f.numerator <= f.denominator)
)

SELECT
    indicator_id, area_id, period_type, reference_date
    {%- for z, level in [(m.z95, "95"), (m.z998, "998")] %},
    factor * CASE
        WHEN interval_method = 'wilson' THEN {{ m.wilson_low("x", "n", z) }}
        WHEN few THEN {{ m.poisson_limit("x", "low_" ~ level) }} / nullif(n, 0.0e0)
        ELSE {{ m.byar_low("x", z) }} / nullif(n, 0.0e0)
    END AS low_{{ level }},
    factor * CASE
        WHEN interval_method = 'wilson' THEN {{ m.wilson_high("x", "n", z) }}
        WHEN few THEN {{ m.poisson_limit("x", "high_" ~ level) }} / nullif(n, 0.0e0)
        ELSE {{ m.byar_high("x", z) }} / nullif(n, 0.0e0)
    END AS high_{{ level }}
    {%- endfor %}
FROM counts
