SELECT
    index_id, title_de, title_en, definition_de, definition_en, reading_aid_de, universe_level, minimum_measure,
    minimum_category, minimum_value, dynamics_years, dynamics_from, owner, approved_by, approved_on, sort_key
FROM index_in
