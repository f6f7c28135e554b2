SELECT source_id, measure_id, category, since, reference_date, other_population, reason_de, reason_en
FROM series_break_in
