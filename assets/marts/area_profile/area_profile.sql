WITH latest AS (
    SELECT indicator_id, area_id, max(reference_date) AS reference_date
    FROM indicator_value
    GROUP BY indicator_id, area_id
),

shown AS (
    SELECT v.indicator_id, v.area_id, v.value, v.period, v.obs_status, v.origin, v.ci_low, v.ci_high, v.comparison, v.trend
    FROM indicator_value AS v
    JOIN latest AS l
        ON l.indicator_id = v.indicator_id AND l.area_id = v.area_id AND l.reference_date = v.reference_date
)

SELECT
    a.area_id, a.name, a.level
    {%- for indicator in indicators %},
    {%- for column in ["value", "period", "obs_status", "origin", "ci_low", "ci_high", "comparison", "trend"] %}
    max(CASE WHEN s.indicator_id = '{{ indicator.id }}' THEN s.{{ column }} END) AS {{ indicator.id }}__{{ column }}
    {{- "," if not loop.last }}
    {%- endfor %}
    {%- endfor %}
FROM area AS a
LEFT JOIN shown AS s ON s.area_id = a.area_id
GROUP BY a.area_id, a.name, a.level
