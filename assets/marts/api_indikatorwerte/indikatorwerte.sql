SELECT
    v.indicator_id AS indikator, i.title_de AS indikator_titel, v.area_id AS gebiet, a.name AS gebiet_name,
    v.area_level AS ebene, v.period_type AS zeitbezug, v.reference_date AS stichtag, v.period AS zeitraum,
    v.numerator AS zaehler, v.denominator AS nenner, round(v.value, i.decimals) AS wert, i.unit AS einheit,
    v.obs_status AS status, v.conf_status AS geheimhaltung, v.suppression_reason AS grund, v.origin AS datenherkunft,
    v.data_as_of AS datenstand, v.delivery_ids AS lieferungen,
    round(v.ci_low, i.decimals) AS untere_grenze, round(v.ci_high, i.decimals) AS obere_grenze, round(v.benchmark_value, i.decimals) AS vergleichswert, round(v.difference, i.decimals) AS abstand,
    {{ in_german("v.comparison", "comparison") }} AS vergleich,
    {{ in_german("v.not_compared_reason", "not_compared_reason") }} AS vergleich_grund,
    v.rank AS rang, v.ranked_n AS rang_von, round(v.change, i.decimals) AS veraenderung, round(v.change_low, i.decimals) AS veraenderung_von,
    round(v.change_high, i.decimals) AS veraenderung_bis, {{ in_german("v.trend", "trend") }} AS trend,
    {{ in_german("v.trend_reason", "trend_reason") }} AS trend_grund, v.segment AS abschnitt
FROM mart.indicator_value AS v
JOIN mart.indicator AS i ON i.indicator_id = v.indicator_id
JOIN mart.area AS a ON a.area_id = v.area_id
