SELECT measure_id, category, title_de, title_en, sort_key, part_of
FROM category_in
