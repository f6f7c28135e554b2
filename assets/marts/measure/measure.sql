SELECT measure_id, title, unit, kind, family, additive_over, title_en, period_type, formed_from
FROM measure_in
