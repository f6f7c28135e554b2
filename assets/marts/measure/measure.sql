SELECT
    measure_id, title, unit, kind, family, additive_over, title_en, period_type, formed_from, threshold, zeros, tolerance,
    rate_numerator, rate_numerator_category, rate_denominator, rate_denominator_category, rate_denominator_date
FROM measure_in
