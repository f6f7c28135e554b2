WITH latest AS (
    SELECT indicator_id, area_id, max(reference_date) AS reference_date
    FROM indicator_value
    GROUP BY indicator_id, area_id
),

shown AS (
    SELECT v.indicator_id, v.area_id, v.value, v.period, v.obs_status, v.origin
    FROM indicator_value AS v
    JOIN latest AS l
        ON l.indicator_id = v.indicator_id AND l.area_id = v.area_id AND l.reference_date = v.reference_date
)

SELECT
    a.area_id, a.name, a.level
    {%- for indicator in indicators %},
    max(CASE WHEN s.indicator_id = '{{ indicator.id }}' THEN s.value END) AS {{ indicator.id }}__value,
    max(CASE WHEN s.indicator_id = '{{ indicator.id }}' THEN s.period END) AS {{ indicator.id }}__period,
    max(CASE WHEN s.indicator_id = '{{ indicator.id }}' THEN s.obs_status END) AS {{ indicator.id }}__obs_status,
    max(CASE WHEN s.indicator_id = '{{ indicator.id }}' THEN s.origin END) AS {{ indicator.id }}__origin
    {%- endfor %}
FROM area AS a
LEFT JOIN shown AS s ON s.area_id = a.area_id
GROUP BY a.area_id, a.name, a.level
