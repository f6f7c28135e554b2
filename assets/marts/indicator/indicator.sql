SELECT
    indicator_id, title_de, title_en, definition_de, numerator, denominator, unit, decimals, polarity, owner, approved_by,
    approved_on, definition_en, reading_aid_de, numerator_category, denominator_category, denominator_period_type,
    denominator_date, factor, topic, sort_key, part_of_whole, small_base, interval_method,
    comparison_method, benchmark_area, benchmark_level, pooled_periods
FROM indicator_in
