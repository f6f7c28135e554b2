SELECT indicator_id, area_level, figure, rate_measure
FROM indicator_level_in
