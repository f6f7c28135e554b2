SELECT index_id, area_id, reason AS exclusion_reason
FROM index_exclusion_in
