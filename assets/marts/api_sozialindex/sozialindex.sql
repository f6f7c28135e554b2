SELECT
    s.index_id AS index_kennung, i.title_de AS index_titel, s.area_id AS gebiet, a.name AS gebiet_name,
    s.area_level AS ebene, s.reference_date AS stichtag, round(s.status_index, 2) AS status_index, c.title_de AS status,
    least(round(100 * s.class_stability, 1), 99.9) AS sicherheit, s.one_case_flips AS ein_fall_aendert,
    {{ in_german("s.reason", "reason") }} AS grund, round(s.dynamics_index, 2) AS dynamik_index, d.title_de AS dynamik,
    least(round(100 * s.dynamics_stability, 1), 99.9) AS dynamik_sicherheit,
    {{ in_german("s.dynamics_reason", "dynamics_reason") }} AS dynamik_grund, s.universe_n AS vergleichsgebiete,
    s.origin AS datenherkunft
FROM mart.social_index AS s
JOIN mart.index_definition AS i ON i.index_id = s.index_id
JOIN mart.area AS a ON a.area_id = s.area_id
LEFT JOIN mart.index_class AS c
    ON c.index_id = s.index_id AND c.dimension = 'status' AND c.class_id = s.status_class
LEFT JOIN mart.index_class AS d
    ON d.index_id = s.index_id AND d.dimension = 'dynamics' AND d.class_id = s.dynamics_class
