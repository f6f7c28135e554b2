{% import "macros.sql" as m %}
WITH figures AS (
    SELECT
        f.indicator_id, f.area_id, f.period_type, f.reference_date, f.area_level, f.period, f.numerator, f.denominator,
        f.value, f.obs_status, f.conf_status, f.is_suppressed, f.suppression_reason, f.origin, f.method, f.data_as_of,
        f.delivery_ids, f.figure, i.unit, i.factor, i.polarity, i.interval_method, i.comparison_method, i.pooled_periods,
        coalesce(s.segment, 1) AS segment, {{ m.origin_rank("f.origin") }} AS origin_rank,
        year(f.reference_date) AS year_of, {{ m.day_of_year("f.reference_date") }} AS day_of_year,
        -- Only counts of cases carry a statistical uncertainty that can be told; estimated ones carry another besides.
        f.figure = 'counts' AND f.value IS NOT NULL AND f.method <> 'estimated' AND f.numerator >= 0
        AND i.unit <> 'persons' AND i.interval_method <> 'none'
        -- More cases than the whole has: a quotient, no share.
        AND (i.interval_method <> 'wilson' OR f.numerator <= f.denominator) AS with_limits,
        i.interval_method = 'byar_exact' AND f.numerator < 10 AS few
    FROM indicator_figure AS f
    JOIN indicator AS i ON i.indicator_id = f.indicator_id
    LEFT JOIN indicator_segment AS s
        ON s.indicator_id = f.indicator_id AND s.area_id = f.area_id AND s.period_type = f.period_type
        AND s.reference_date = f.reference_date
)

SELECT
    indicator_id, area_id, period_type, reference_date, area_level, period, numerator, denominator, value, obs_status,
    conf_status, is_suppressed, suppression_reason, origin, method, data_as_of, delivery_ids, figure, unit, factor,
    polarity, interval_method, comparison_method, pooled_periods, segment
    {%- for z, level in [(m.z95, "95"), (m.z998, "998")] %},
    factor * CASE
        WHEN with_limits IS DISTINCT FROM TRUE THEN NULL
        WHEN interval_method = 'wilson' THEN {{ m.wilson_low("numerator", "denominator", z) }}
        WHEN few THEN {{ m.poisson_limit("numerator", "low_" ~ level) }} / nullif(denominator, 0.0e0)
        ELSE {{ m.byar_low("numerator", z) }} / nullif(denominator, 0.0e0)
    END AS low_{{ level }},
    factor * CASE
        WHEN with_limits IS DISTINCT FROM TRUE THEN NULL
        WHEN interval_method = 'wilson' THEN {{ m.wilson_high("numerator", "denominator", z) }}
        WHEN few THEN {{ m.poisson_limit("numerator", "high_" ~ level) }} / nullif(denominator, 0.0e0)
        ELSE {{ m.byar_high("numerator", z) }} / nullif(denominator, 0.0e0)
    END AS high_{{ level }}
    {%- endfor %},
    origin_rank, year_of, day_of_year
FROM figures
