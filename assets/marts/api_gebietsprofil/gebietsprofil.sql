-- The area is looked up first: its id lets the large table skip everything else.
SELECT w.gebiet, w.gebiet_name, w.ebene, w.indikator, w.indikator_titel, w.zeitraum, w.wert, w.einheit, w.status, w.datenherkunft,
    w.untere_grenze, w.obere_grenze, w.vergleich, w.vergleich_grund, w.rang, w.rang_von, w.trend,
    w.trend_grund
FROM (
    SELECT v.*, max(v.stichtag) OVER (PARTITION BY v.gebiet, v.indikator) AS juengster_stichtag
    FROM api.indikatorwerte AS v
    WHERE v.gebiet IN (SELECT a.area_id FROM mart.area AS a WHERE a.area_id = gebiet OR lower(a.name) = lower(gebiet))
) AS w
WHERE w.stichtag = w.juengster_stichtag
ORDER BY w.ebene, w.gebiet, w.indikator
