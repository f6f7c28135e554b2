SELECT
    r.indicator_id AS indikator, i.title_de AS indikator_titel, r.area_id AS gebiet, a.name AS gebiet_name,
    r.area_level AS ebene, r.period AS zeitraum, round(r.value_before, i.decimals) AS vorher,
    round(r.value_now, i.decimals) AS nachher, round(r.difference, i.decimals) AS abstand,
    {{ in_german("r.cause", "cause") }} AS ursache, r.release_id AS geaendert_in, r.previous_release_id AS galt_in
FROM mart.revision AS r
JOIN mart.indicator AS i ON i.indicator_id = r.indicator_id
JOIN mart.area AS a ON a.area_id = r.area_id
