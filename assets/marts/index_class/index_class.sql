SELECT index_id, dimension, class_id, title_de, title_en, sort_key, above, above_included, upper, upper_included
FROM index_class_in
