-- The area is looked up first: its id lets the large table skip everything else.
SELECT
    w.gebiet, w.gebiet_name, w.ebene, w.zeitbezug, w.zeitraum, w.stichtag, w.wert, w.einheit, w.zaehler, w.nenner, w.status,
    w.grund, w.datenherkunft, w.untere_grenze, w.obere_grenze, w.veraenderung, w.trend, w.trend_grund, w.abschnitt
FROM api.indikatorwerte AS w
WHERE w.indikator = indikator
    AND w.gebiet IN (SELECT a.area_id FROM mart.area AS a WHERE a.area_id = gebiet OR lower(a.name) = lower(gebiet))
ORDER BY w.ebene, w.gebiet, w.zeitbezug, w.stichtag
