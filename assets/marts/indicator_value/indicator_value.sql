{% import "macros.sql" as m %}
{%- set group = "OVER (PARTITION BY indicator_id, area_level, period_type, reference_date)" %}
-- One figure per year and day of the year: of the 28th and 29th of a February the later one.
WITH yearly AS (
    SELECT
        indicator_id, area_id, period_type, year_of, day_of_year, value, segment, low_95, high_95,
        row_number() OVER (
            PARTITION BY indicator_id, area_id, period_type, year_of, day_of_year ORDER BY reference_date DESC
        ) AS position
    FROM indicator_series
),

-- The one area to compare with on that day; none if the area belongs to none or to several of the level.
benchmark_of AS (
    SELECT
        f.indicator_id, f.area_id, f.period_type, f.reference_date,
        CASE WHEN count(DISTINCT b.benchmark_id) = 1 THEN min(b.benchmark_id) END AS benchmark_id
    FROM indicator_figure AS f
    JOIN benchmark_in AS b
        ON b.indicator_id = f.indicator_id AND b.area_id = f.area_id
        AND (b.valid_from IS NULL OR b.valid_from <= f.reference_date)
        AND (b.valid_to IS NULL OR b.valid_to >= f.reference_date)
    GROUP BY f.indicator_id, f.area_id, f.period_type, f.reference_date
),

-- Sums of figures divided by the largest of their group: exact decimals, so that the order of rows changes no digit.
grouped AS (
    SELECT
        indicator_id, area_id, period_type, reference_date, area_level, unit, value,
        CASE WHEN value IS NOT NULL THEN rank() OVER (
            PARTITION BY indicator_id, area_level, period_type, reference_date ORDER BY round(value, 9) DESC NULLS LAST
        ) END AS place,
        count(value) {{ group }} AS ranked_n,
        max(CASE WHEN value IS NOT NULL THEN origin_rank END) {{ group }} AS group_origin,
        max(round(value, 9)) {{ group }} > min(round(value, 9)) {{ group }} AS spread,
        max(abs(value)) {{ group }} AS largest,
        max(origin_rank) OVER (
            PARTITION BY indicator_id, area_id, period_type, day_of_year ORDER BY reference_date
            ROWS BETWEEN 4 PRECEDING AND CURRENT ROW
        ) AS series_origin
    FROM indicator_series
),

centred AS (
    SELECT
        indicator_id, area_id, period_type, reference_date, area_level, place, ranked_n, group_origin, series_origin,
        unit <> 'persons' AND ranked_n >= 10 AND spread AS standardised,
        value / nullif(largest, 0.0e0)
        - CAST(sum(CAST(value / nullif(largest, 0.0e0) AS DECIMAL(38, 30))) {{ group }} AS DOUBLE) / nullif(ranked_n, 0) AS gap
    FROM grouped
),

standardised AS (
    SELECT
        indicator_id, area_id, period_type, reference_date, place, ranked_n, group_origin, series_origin,
        CASE WHEN standardised THEN
            gap / nullif(sqrt(CAST(sum(CAST(gap * gap AS DECIMAL(38, 30))) {{ group }} AS DOUBLE) / ranked_n), 0.0e0)
        END AS z_score
    FROM centred
),

joined AS (
    SELECT
        f.indicator_id, f.area_id, f.period_type, f.reference_date, f.area_level, f.period, f.numerator, f.denominator,
        f.value, f.obs_status, f.conf_status, f.is_suppressed, f.suppression_reason, f.origin, f.method, f.data_as_of,
        f.delivery_ids, f.figure, f.unit, f.factor, f.polarity, f.interval_method, f.comparison_method, f.pooled_periods,
        f.segment, f.low_95, f.high_95, f.low_998, f.high_998, f.origin_rank,
        b.benchmark_id, r.value AS benchmark_value, {{ m.origin_rank("coalesce(r.origin, 'published')") }} AS benchmark_origin,
        e.value AS earlier_value, e.segment AS earlier_segment, e.low_95 AS earlier_low, e.high_95 AS earlier_high,
        z.place, z.ranked_n, z.group_origin, z.series_origin, z.z_score, t.chi2, t.trend, t.trend_reason
        {%- for z, level in [(m.z95, "95"), (m.z998, "998")] %},
        f.factor * {{ m.wilson_low("(f.denominator * r.value / f.factor)", "f.denominator", z) }} AS funnel_low_{{ level }},
        f.factor * {{ m.wilson_high("(f.denominator * r.value / f.factor)", "f.denominator", z) }} AS funnel_high_{{ level }}
        {%- endfor %}
    FROM indicator_series AS f
    JOIN standardised AS z
        ON z.indicator_id = f.indicator_id AND z.area_id = f.area_id AND z.period_type = f.period_type
        AND z.reference_date = f.reference_date
    JOIN indicator_trend AS t
        ON t.indicator_id = f.indicator_id AND t.area_id = f.area_id AND t.period_type = f.period_type
        AND t.reference_date = f.reference_date
    LEFT JOIN benchmark_of AS b
        ON b.indicator_id = f.indicator_id AND b.area_id = f.area_id AND b.period_type = f.period_type
        AND b.reference_date = f.reference_date
    LEFT JOIN indicator_figure AS r
        ON r.indicator_id = b.indicator_id AND r.area_id = b.benchmark_id AND r.period_type = b.period_type
        AND r.reference_date = b.reference_date
    LEFT JOIN yearly AS e
        ON e.indicator_id = f.indicator_id AND e.area_id = f.area_id AND e.period_type = f.period_type
        AND e.year_of = f.year_of - 1 AND e.day_of_year = f.day_of_year AND e.position = 1
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
