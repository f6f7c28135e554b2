{% import "macros.sql" as m %}
{#- Binomial variance of a proportion in the unit of its indicator; empty where the counts are not known. -#}
{% macro variance(v) -%}
CASE WHEN i.interval_method = 'wilson' AND {{ v }}.value IS NOT NULL THEN
            i.factor * i.factor * {{ v }}.numerator * ({{ v }}.denominator - {{ v }}.numerator)
            / nullif({{ v }}.denominator * {{ v }}.denominator * {{ v }}.denominator, 0.0e0)
        END
{%- endmacro %}
{% macro gap(v) -%}
CASE
            WHEN {{ v }}.value IS NOT NULL THEN NULL
            WHEN coalesce({{ v }}.is_suppressed, FALSE) OR {{ v }}.obs_status = 'Q' THEN 'confidential'
            ELSE 'missing_indicator'
        END
{%- endmacro %}
{% macro rank(v) -%}
CASE WHEN {{ v }}.area_id IS NOT NULL THEN {{ m.origin_rank(v ~ '.origin') }} END
{%- endmacro %}
-- What every area brings along: the figure of the year (v), the one some years before (e), the delivered change (d).
WITH earlier AS (
    SELECT
        v.indicator_id, v.area_id, v.period_type, year(v.reference_date) AS of_year,
        {{ m.day_of_year("v.reference_date") }} AS day_of_year, max(v.reference_date) AS reference_date
    FROM indicator_value AS v
    WHERE v.indicator_id IN (SELECT figure_id FROM index_day)
    GROUP BY
        v.indicator_id, v.area_id, v.period_type, year(v.reference_date), {{ m.day_of_year("v.reference_date") }}
),

joined AS (
    SELECT
        c.index_id, c.of_year, c.area_id, k.indicator_id, i.interval_method, i.factor,
        CASE i.polarity WHEN 'higher_is_better' THEN -1.0e0 ELSE 1.0e0 END AS direction,
        k.weight, k.weight / c.top_weight AS share,
        x.dynamics_years IS NOT NULL AS has_dynamics, k.change_indicator_id IS NOT NULL AS change_delivered,
        vt.reference_date AS indicator_reference_date,
        v.value, v.numerator, v.denominator, v.data_as_of, v.delivery_ids,
        {{ variance('v') }} AS variance,
        {{ gap('v') }} AS gap,
        {{ rank('v') }} AS origin_rank,
        e.value AS earlier_value, e.denominator AS earlier_denominator,
        {{ variance('e') }} AS earlier_variance,
        {{ gap('e') }} AS earlier_gap,
        d.value AS delivered_change,
        {{ gap('d') }} AS delivered_gap,
        coalesce(v.segment = e.segment, FALSE) AS comparable,  -- no declared break in between
        greatest({{ rank('v') }}, {{ rank('e') }}, {{ rank('d') }}) AS change_origin_rank,
        greatest(v.data_as_of, e.data_as_of, d.data_as_of) AS change_data_as_of,
        concat_ws(';', v.delivery_ids, e.delivery_ids, d.delivery_ids) AS change_delivery_ids
    FROM index_candidate AS c
    JOIN index_in AS x ON x.index_id = c.index_id
    JOIN index_indicator_in AS k ON k.index_id = c.index_id
    JOIN indicator AS i ON i.indicator_id = k.indicator_id
    JOIN index_day AS vt
        ON vt.index_id = c.index_id AND vt.indicator_id = k.indicator_id AND vt.role = 'status'
        AND vt.of_year = c.of_year
    LEFT JOIN indicator_value AS v
        ON v.indicator_id = vt.figure_id AND v.area_id = c.area_id AND v.period_type = vt.period_type
        AND v.reference_date = vt.reference_date
    LEFT JOIN earlier AS et
        ON et.indicator_id = vt.figure_id AND et.area_id = c.area_id AND et.period_type = vt.period_type
        AND k.change_indicator_id IS NULL AND et.of_year = c.of_year - x.dynamics_years
        AND et.day_of_year = {{ m.day_of_year("vt.reference_date") }}
    LEFT JOIN indicator_value AS e
        ON e.indicator_id = et.indicator_id AND e.area_id = et.area_id AND e.period_type = et.period_type
        AND e.reference_date = et.reference_date
    LEFT JOIN index_day AS dt
        ON dt.index_id = c.index_id AND dt.indicator_id = k.indicator_id AND dt.role = 'change'
        AND dt.of_year = c.of_year
    LEFT JOIN indicator_value AS d
        ON d.indicator_id = dt.figure_id AND d.area_id = c.area_id AND d.period_type = dt.period_type
        AND d.reference_date = dt.reference_date
)

SELECT
    index_id, of_year, area_id, indicator_id, interval_method, factor, direction, weight, share, has_dynamics,
    change_delivered, indicator_reference_date, value, numerator, denominator, variance, gap, origin_rank, data_as_of,
    delivery_ids, earlier_value, earlier_denominator, earlier_variance,
    CASE
        WHEN change_delivered THEN delivered_gap
        WHEN gap = 'confidential' OR earlier_gap = 'confidential' THEN 'confidential'
        WHEN gap IS NOT NULL OR earlier_gap IS NOT NULL THEN 'missing_indicator'
        WHEN NOT comparable THEN 'series_break'
    END AS change_gap,
    CASE
        WHEN change_delivered THEN delivered_change
        WHEN gap IS NULL AND earlier_gap IS NULL AND comparable THEN value - earlier_value
    END AS change,
    CASE
        WHEN change_delivered THEN abs(delivered_change)
        ELSE greatest(abs(value), abs(earlier_value))
    END AS change_size,
    change_origin_rank, change_data_as_of, change_delivery_ids
FROM joined
