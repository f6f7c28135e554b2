SELECT
    measure_id, category, area_id, period_type, reference_date, area_level, period, value, obs_status, conf_status,
    is_suppressed, suppression_reason, origin, method, data_as_of, delivery_ids
FROM observation_in
