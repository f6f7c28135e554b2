SELECT area_id, parent_id, valid_from, valid_to, weight, status, source
FROM membership_in
