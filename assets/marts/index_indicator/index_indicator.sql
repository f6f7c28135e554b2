SELECT index_id, indicator_id, weight, change_indicator_id, sort_key
FROM index_indicator_in
