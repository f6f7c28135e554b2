{% import "macros.sql" as m %}
SELECT
    f.indicator_id, f.area_id, f.period_type, f.reference_date, f.area_level, f.period, f.numerator, f.denominator,
    f.value, f.obs_status, f.conf_status, f.is_suppressed, f.suppression_reason, f.origin, f.method, f.data_as_of,
    f.delivery_ids, f.figure, i.unit, i.factor, i.polarity, i.interval_method, i.comparison_method, i.pooled_periods,
    s.segment, c.low_95, c.high_95, c.low_998, c.high_998, {{ m.origin_rank("f.origin") }} AS origin_rank,
    year(f.reference_date) AS year_of, {{ m.day_of_year("f.reference_date") }} AS day_of_year
FROM indicator_figure AS f
JOIN indicator AS i ON i.indicator_id = f.indicator_id
JOIN indicator_segment AS s
    ON s.indicator_id = f.indicator_id AND s.area_id = f.area_id AND s.period_type = f.period_type
    AND s.reference_date = f.reference_date
LEFT JOIN indicator_limit AS c
    ON c.indicator_id = f.indicator_id AND c.area_id = f.area_id AND c.period_type = f.period_type
    AND c.reference_date = f.reference_date
