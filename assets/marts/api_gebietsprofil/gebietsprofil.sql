SELECT w.gebiet, w.gebiet_name, w.ebene, w.indikator, w.indikator_titel, w.zeitraum, w.wert, w.einheit, w.status, w.datenherkunft,
    w.untere_grenze, w.obere_grenze, w.vergleich, w.vergleich_grund, w.rang, w.rang_von, w.trend,
    w.trend_grund
FROM api.indikatorwerte AS w
JOIN (
    SELECT area_id, indicator_id, max(reference_date) AS stichtag
    FROM mart.indicator_value
    GROUP BY area_id, indicator_id
) AS j ON j.area_id = w.gebiet AND j.indicator_id = w.indikator AND j.stichtag = w.stichtag
WHERE w.gebiet = gebiet OR lower(w.gebiet_name) = lower(gebiet)
ORDER BY w.ebene, w.gebiet, w.indikator
