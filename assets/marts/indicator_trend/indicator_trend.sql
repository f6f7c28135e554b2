{#- Sum over pairs of points: no difference of large numbers, so weights may be of any size, and equal values give 0. -#}
{%- macro pairs(points, expression) -%}
({% for i in points %}{% for j in points if j > i %}{{ " + " if not (loop.first and i == points[0]) }}w{{ i }} * w{{ j }} * {{ expression | replace("#", j ~ " - y" ~ i) | replace("@", j - i) | replace("$", "y" ~ j) | replace("!", "y" ~ i) }}{% endfor %}{% endfor %})
{%- endmacro -%}
{%- macro slope(points) -%}
{{ pairs(points, "@.0e0 * (y#)") }}
{%- endmacro -%}
{#- Direction of the line through y over t = 1..5 with weights w, through all points or all but one: from -1 to 1, rounded. -#}
{%- macro direction(points) -%}
coalesce(round({{ slope(points) }} / nullif({{ pairs(points, "@.0e0 * (abs($) + abs(!))") }}, 0.0e0), 9), 0.0e0)
{%- endmacro -%}
{%- set all_points = [1, 2, 3, 4, 5] -%}
{%- macro sum(expression) -%}
({% for p in all_points %}{{ " + " if not loop.first }}{{ expression | replace("#", p | string) }}{% endfor %})
{%- endmacro -%}
-- A series is what is comparable in time: one indicator, area and kind of period, always on the same day of the year.
-- Its five points, 5 = this period.
WITH points AS (
    SELECT
        indicator_id, area_id, period_type, reference_date, polarity, unit, interval_method, pooled_periods, figure, year_of
        {%- set over = "OVER (PARTITION BY indicator_id, area_id, period_type, day_of_year ORDER BY reference_date" %}
        {%- for column, short in [("year_of", "t"), ("segment", "s"), ("numerator", "x"), ("denominator", "n"), ("value", "v"), ("low_95", "low"), ("high_95", "high")] %}
        {%- for p in all_points[:-1] %},
        lag({{ column }}, {{ 5 - p }}) {{ over }}) AS {{ short }}{{ p }}
        {%- endfor %},
        {{ column }} AS {{ short }}5
        {%- endfor %},
        max(CASE WHEN method = 'estimated' THEN 1 ELSE 0 END) {{ over }} ROWS BETWEEN 4 PRECEDING AND CURRENT ROW) AS estimated,
        max(origin_rank) {{ over }} ROWS BETWEEN 4 PRECEDING AND CURRENT ROW) AS series_origin
    FROM indicator_series
),

judged AS (
    SELECT
        indicator_id, area_id, period_type, reference_date, polarity, interval_method, series_origin,
        -- The year before: one figure per year and day of the year, of the 28th and 29th of a February the later one.
        CASE WHEN t4 = year_of - 1 THEN 4 WHEN t4 = year_of AND t3 = year_of - 1 THEN 3 END AS before,
        {% for p in all_points %}s{{ p }}, x{{ p }}, n{{ p }}, v{{ p }}, low{{ p }}, high{{ p }}, {% endfor %}
        CASE
            WHEN unit = 'persons' THEN 'plain_number'
            WHEN figure = 'rate' THEN 'rate_only'
            WHEN interval_method = 'none' THEN 'no_interval'
            WHEN pooled_periods > 1 THEN 'overlap'
            WHEN t1 IS NULL THEN 'too_few_periods'
            WHEN t5 - t1 <> 4 THEN 'gap'
            WHEN s1 <> s5 THEN 'series_break'
            WHEN {% for p in all_points %}{{ " OR " if not loop.first }}v{{ p }} IS NULL{% endfor %} THEN 'no_value'
            WHEN estimated = 1 THEN 'estimated_count'
            WHEN {% for p in all_points %}{{ " OR " if not loop.first }}low{{ p }} IS NULL{% endfor %} THEN 'no_interval'
            WHEN interval_method = 'wilson'
                AND ({% for p in all_points %}{{ " OR " if not loop.first }}x{{ p }} <= 0 OR x{{ p }} >= n{{ p }}{% endfor %})
                THEN 'none_or_all'
            WHEN {% for p in all_points %}{{ " OR " if not loop.first }}high{{ p }} <= low{{ p }}{% endfor %} THEN 'no_interval'
        END AS trend_reason
    FROM points
),

-- Proportions: logits, unweighted; other rates: values, weighted by the inverse of their variance.
prepared AS (
    SELECT
        indicator_id, area_id, period_type, reference_date, polarity, interval_method, trend_reason, series_origin,
        {%- for column, short in [("value", "v"), ("segment", "s"), ("low", "low"), ("high", "high")] %}
        CASE before WHEN 4 THEN {{ short }}4 WHEN 3 THEN {{ short }}3 END AS earlier_{{ column }},
        {%- endfor %}
        {% for p in all_points %}x{{ p }}, n{{ p }},
        CASE
            WHEN trend_reason IS NOT NULL THEN NULL
            WHEN interval_method = 'wilson' THEN ln(x{{ p }} / (n{{ p }} - x{{ p }}))
            ELSE v{{ p }}
        END AS y{{ p }},
        CASE
            WHEN trend_reason IS NOT NULL THEN NULL
            WHEN interval_method = 'wilson' THEN 1.0e0
            ELSE 3.92e0 * 3.92e0 / ((high{{ p }} - low{{ p }}) * (high{{ p }} - low{{ p }}))
        END AS w{{ p }}{{ "," if not loop.last }}
        {% endfor %}
    FROM judged
),

computed AS (
    SELECT
        indicator_id, area_id, period_type, reference_date, polarity, trend_reason, series_origin,
        earlier_value, earlier_segment, earlier_low, earlier_high,
        CASE
            WHEN trend_reason IS NOT NULL THEN NULL
            WHEN interval_method = 'wilson' THEN
                {{ sum("n#") }} * power({{ sum("n#") }} * {{ sum("x# * #.0e0") }} - {{ sum("x#") }} * {{ sum("n# * #.0e0") }}, 2.0e0)
                / nullif(
                    {{ sum("x#") }} * ({{ sum("n#") }} - {{ sum("x#") }})
                    * ({{ sum("n#") }} * {{ sum("n# * #.0e0 * #.0e0") }} - power({{ sum("n# * #.0e0") }}, 2.0e0)),
                    0.0e0
                )
            ELSE
                power({{ slope(all_points) }}, 2.0e0)
                / nullif(
                    {{ sum("w#") }} * {{ pairs(all_points, "@.0e0 * @.0e0") }},
                    0.0e0
                )
        END AS chi2,
        {{ direction(all_points) }} AS slope0
        {%- for left_out in all_points %},
        {{ direction(all_points | reject("equalto", left_out) | list) }} AS slope{{ left_out }}
        {%- endfor %}
    FROM prepared
),

-- Significant, and no single year carries it: all six slopes point the same way.
decided AS (
    SELECT
        indicator_id, area_id, period_type, reference_date, polarity, trend_reason, series_origin,
        earlier_value, earlier_segment, earlier_low, earlier_high, chi2,
        CASE
            WHEN coalesce(round(chi2, 9), 0.0e0) <= 9.549535706e0 THEN 0
            WHEN {% for k in [0, 1, 2, 3, 4, 5] %}{{ " AND " if not loop.first }}slope{{ k }} > 0{% endfor %} THEN 1
            WHEN {% for k in [0, 1, 2, 3, 4, 5] %}{{ " AND " if not loop.first }}slope{{ k }} < 0{% endfor %} THEN -1
            ELSE 0
        END AS direction
    FROM computed
)

SELECT
    indicator_id, area_id, period_type, reference_date, chi2,
    CASE
        WHEN trend_reason IS NOT NULL THEN 'not_calculable'
        WHEN direction = 0 THEN 'no_significant_change'
        WHEN polarity = 'neutral' AND direction = 1 THEN 'increasing'
        WHEN polarity = 'neutral' THEN 'decreasing'
        WHEN (polarity = 'higher_is_better') = (direction = 1) THEN 'improving'
        ELSE 'worsening'
    END AS trend,
    trend_reason, series_origin, earlier_value, earlier_segment, earlier_low, earlier_high
FROM decided
