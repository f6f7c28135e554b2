{% import "macros.sql" as m %}
-- The one area to compare with, where it is the same on every day.
WITH always AS (
    SELECT
        indicator_id, area_id,
        CASE WHEN count(DISTINCT benchmark_id) = 1 THEN min(benchmark_id) END AS benchmark_id
    FROM benchmark_in
    GROUP BY indicator_id, area_id
    HAVING count(valid_from) + count(valid_to) = 0
),

-- The others, on the days of their figures; none if the area belongs to none or to several of the level.
dated AS (
    SELECT
        f.indicator_id, f.area_id, f.period_type, f.reference_date,
        CASE WHEN count(DISTINCT b.benchmark_id) = 1 THEN min(b.benchmark_id) END AS benchmark_id
    FROM indicator_figure AS f
    JOIN benchmark_in AS b
        ON b.indicator_id = f.indicator_id AND b.area_id = f.area_id
        AND (b.valid_from IS NULL OR b.valid_from <= f.reference_date)
        AND (b.valid_to IS NULL OR b.valid_to >= f.reference_date)
    WHERE NOT EXISTS (SELECT 1 FROM always AS a WHERE a.indicator_id = f.indicator_id AND a.area_id = f.area_id)
    GROUP BY f.indicator_id, f.area_id, f.period_type, f.reference_date
),

benchmark AS (
    SELECT f.indicator_id, f.area_id AS benchmark_id, f.period_type, f.reference_date, f.value, f.origin_rank
    FROM indicator_series AS f
    WHERE f.area_id IN (SELECT benchmark_id FROM benchmark_in)
),

placed AS (
    SELECT
        indicator_id, area_id, period_type, reference_date,
        CASE WHEN value IS NOT NULL THEN rank() OVER (
            PARTITION BY indicator_id, area_level, period_type, reference_date ORDER BY round(value, 9) DESC NULLS LAST
        ) END AS place
    FROM indicator_series
),

-- Sums of figures divided by the largest of their group: exact decimals, so that the order of rows changes no digit.
grouped AS (
    SELECT
        indicator_id, area_level, period_type, reference_date, count(value) AS ranked_n,
        max(CASE WHEN value IS NOT NULL THEN origin_rank END) AS group_origin,
        max(round(value, 9)) > min(round(value, 9)) AS spread, max(abs(value)) AS largest
    FROM indicator_series
    GROUP BY indicator_id, area_level, period_type, reference_date
),

centred AS (
    SELECT
        g.indicator_id, g.area_level, g.period_type, g.reference_date, g.ranked_n, g.group_origin, g.spread, g.largest,
        CAST(sum(CAST(f.value / nullif(g.largest, 0.0e0) AS DECIMAL(38, 30))) AS DOUBLE) / nullif(g.ranked_n, 0) AS mean
    FROM grouped AS g
    JOIN indicator_series AS f
        ON f.indicator_id = g.indicator_id AND f.area_level = g.area_level AND f.period_type = g.period_type
        AND f.reference_date = g.reference_date
    GROUP BY
        g.indicator_id, g.area_level, g.period_type, g.reference_date, g.ranked_n, g.group_origin, g.spread, g.largest
),

gaps AS (
    SELECT
        c.indicator_id, c.area_level, c.period_type, c.reference_date,
        f.value / nullif(c.largest, 0.0e0) - c.mean AS gap
    FROM centred AS c
    JOIN indicator_series AS f
        ON f.indicator_id = c.indicator_id AND f.area_level = c.area_level AND f.period_type = c.period_type
        AND f.reference_date = c.reference_date
),

squared AS (
    SELECT
        indicator_id, area_level, period_type, reference_date,
        CAST(sum(CAST(gap * gap AS DECIMAL(38, 30))) AS DOUBLE) AS squares
    FROM gaps
    GROUP BY indicator_id, area_level, period_type, reference_date
),

standardised AS (
    SELECT
        c.indicator_id, c.area_level, c.period_type, c.reference_date, c.ranked_n, c.group_origin, c.spread, c.largest,
        c.mean, nullif(sqrt(s.squares / c.ranked_n), 0.0e0) AS deviation
    FROM centred AS c
    JOIN squared AS s
        ON s.indicator_id = c.indicator_id AND s.area_level = c.area_level AND s.period_type = c.period_type
        AND s.reference_date = c.reference_date
),

joined AS (
    SELECT
        f.indicator_id, f.area_id, f.period_type, f.reference_date, f.area_level, f.period, f.numerator, f.denominator,
        f.value, f.obs_status, f.conf_status, f.is_suppressed, f.suppression_reason, f.origin, f.method, f.data_as_of,
        f.delivery_ids, f.figure, f.unit, f.factor, f.polarity, f.interval_method, f.comparison_method, f.pooled_periods,
        f.segment, f.low_95, f.high_95, f.low_998, f.high_998, f.origin_rank,
        coalesce(a.benchmark_id, b.benchmark_id) AS benchmark_id, r.value AS benchmark_value,
        coalesce(r.origin_rank, 0) AS benchmark_origin,
        p.place, g.ranked_n, g.group_origin,
        CASE WHEN f.unit <> 'persons' AND g.ranked_n >= 10 AND g.spread THEN
            (f.value / nullif(g.largest, 0.0e0) - g.mean) / g.deviation
        END AS z_score,
        t.series_origin, t.earlier_value, t.earlier_segment, t.earlier_low, t.earlier_high, t.chi2, t.trend, t.trend_reason
        {%- for z, level in [(m.z95, "95"), (m.z998, "998")] %},
        f.factor * {{ m.wilson_low("(f.denominator * r.value / f.factor)", "f.denominator", z) }} AS funnel_low_{{ level }},
        f.factor * {{ m.wilson_high("(f.denominator * r.value / f.factor)", "f.denominator", z) }} AS funnel_high_{{ level }}
        {%- endfor %}
    FROM indicator_series AS f
    -- Every figure has its row in these three; LEFT JOIN keeps the widest table the one that is read through.
    LEFT JOIN standardised AS g
        ON g.indicator_id = f.indicator_id AND g.area_level = f.area_level AND g.period_type = f.period_type
        AND g.reference_date = f.reference_date
    LEFT JOIN placed AS p
        ON p.indicator_id = f.indicator_id AND p.area_id = f.area_id AND p.period_type = f.period_type
        AND p.reference_date = f.reference_date
    LEFT JOIN indicator_trend AS t
        ON t.indicator_id = f.indicator_id AND t.area_id = f.area_id AND t.period_type = f.period_type
        AND t.reference_date = f.reference_date
    LEFT JOIN always AS a ON a.indicator_id = f.indicator_id AND a.area_id = f.area_id
    LEFT JOIN dated AS b
        ON b.indicator_id = f.indicator_id AND b.area_id = f.area_id AND b.period_type = f.period_type
        AND b.reference_date = f.reference_date
    LEFT JOIN benchmark AS r
        ON r.indicator_id = f.indicator_id AND r.benchmark_id = coalesce(a.benchmark_id, b.benchmark_id)
        AND r.period_type = f.period_type AND r.reference_date = f.reference_date
),

judged AS (
    SELECT
        *,
        CASE
            WHEN unit = 'persons' THEN 'plain_number'
            WHEN area_id = benchmark_id THEN 'same_area'
            WHEN value IS NULL THEN 'no_value'
            WHEN benchmark_value IS NULL THEN 'no_benchmark'
            WHEN figure = 'rate' THEN 'rate_only'
            WHEN method = 'estimated' THEN 'estimated_count'
            WHEN low_95 IS NULL THEN 'no_interval'
        END AS not_compared_reason,
        CASE
            WHEN value IS NULL THEN 'no_value'
            WHEN pooled_periods > 1 THEN 'overlap'
            WHEN earlier_value IS NULL THEN 'no_earlier'
            WHEN segment <> earlier_segment THEN 'series_break'
        END AS change_reason
        {%- for level in ["95", "998"] %},
        CASE
            WHEN comparison_method = 'interval' AND round(low_{{ level }}, 9) > round(benchmark_value, 9) THEN 1
            WHEN comparison_method = 'interval' AND round(high_{{ level }}, 9) < round(benchmark_value, 9) THEN -1
            WHEN comparison_method = 'funnel' AND round(value, 9) > round(funnel_high_{{ level }}, 9) THEN 1
            WHEN comparison_method = 'funnel' AND round(value, 9) < round(funnel_low_{{ level }}, 9) THEN -1
            ELSE 0
        END AS outside_{{ level }}
        {%- endfor %}
    FROM joined
)

SELECT
    indicator_id, area_id, period_type, reference_date, area_level, period, numerator, denominator, value,
    low_95 AS ci_low, high_95 AS ci_high, low_998 AS ci_low_998, high_998 AS ci_high_998,
    benchmark_id, benchmark_value,
    CASE WHEN unit <> 'persons' AND area_id <> benchmark_id THEN value - benchmark_value END AS difference,
    CASE
        WHEN not_compared_reason IS NOT NULL THEN 'not_compared'
        WHEN outside_95 = 0 THEN 'similar'
        WHEN polarity = 'neutral' AND outside_95 = 1 THEN 'higher'
        WHEN polarity = 'neutral' THEN 'lower'
        WHEN (polarity = 'higher_is_better') = (outside_95 = 1) THEN 'better'
        ELSE 'worse'
    END AS comparison,
    CASE
        WHEN not_compared_reason IS NOT NULL OR outside_95 = 0 THEN NULL
        WHEN outside_998 = 0 THEN 95.0e0
        ELSE 99.8e0
    END AS comparison_confidence,
    not_compared_reason, z_score, CAST(place AS INTEGER) AS rank, CAST(ranked_n AS INTEGER) AS ranked_n,
    CASE WHEN change_reason IS NULL THEN value - earlier_value END AS change,
    CASE WHEN change_reason IS NULL THEN
        value - earlier_value - sqrt(power(value - low_95, 2.0e0) + power(earlier_high - earlier_value, 2.0e0))
    END AS change_low,
    CASE WHEN change_reason IS NULL THEN
        value - earlier_value + sqrt(power(high_95 - value, 2.0e0) + power(earlier_value - earlier_low, 2.0e0))
    END AS change_high,
    change_reason, trend, chi2 AS trend_chi2, trend_reason, segment, obs_status, conf_status, is_suppressed,
    suppression_reason, origin,
    {{ m.origin_of("greatest(origin_rank, benchmark_origin, coalesce(group_origin, 0), series_origin)") }} AS statistics_origin,
    method, data_as_of, delivery_ids
FROM judged
