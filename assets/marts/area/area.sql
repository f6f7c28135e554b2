SELECT area_id, name, level, valid_from, valid_to, sort_key, number, source
FROM area_in
