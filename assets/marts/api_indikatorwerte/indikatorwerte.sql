SELECT
    v.indicator_id AS indikator, i.title_de AS indikator_titel, v.area_id AS gebiet, a.name AS gebiet_name,
    v.area_level AS ebene, v.period_type AS zeitbezug, v.reference_date AS stichtag, v.period AS zeitraum,
    v.numerator AS zaehler, v.denominator AS nenner, round(v.value, i.decimals) AS wert, i.unit AS einheit,
    v.obs_status AS status, v.conf_status AS geheimhaltung, v.suppression_reason AS grund, v.origin AS datenherkunft,
    v.data_as_of AS datenstand, v.delivery_ids AS lieferungen
FROM mart.indicator_value AS v
JOIN mart.indicator AS i ON i.indicator_id = v.indicator_id
JOIN mart.area AS a ON a.area_id = v.area_id
