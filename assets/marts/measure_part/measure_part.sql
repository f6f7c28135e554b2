SELECT sum_id, measure_id, category, part_measure_id, part_category, periods, tolerance
FROM measure_part_in
