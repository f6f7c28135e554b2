SELECT
    v.area_id AS gebiet, a.name AS gebiet_name, v.area_level AS ebene, v.period_type AS zeitbezug,
    v.reference_date AS stichtag, v.period AS zeitraum
    {%- for indicator in indicators %},
    round(max(CASE WHEN v.indicator_id = '{{ indicator.id }}' THEN v.value END), {{ indicator.decimals }}) AS {{ indicator.id }}
    {%- endfor %}
FROM mart.indicator_value AS v
JOIN mart.area AS a ON a.area_id = v.area_id
GROUP BY v.area_id, a.name, v.area_level, v.period_type, v.reference_date, v.period
