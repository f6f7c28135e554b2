SELECT
    w.indikator, w.gebiet, w.gebiet_name, w.ebene, w.zeitraum, w.wert, w.zaehler, w.nenner, w.datenherkunft,
    d.delivery_id AS lieferung, d.source_title AS quelle, d.publisher AS herausgeber, d.address AS fundstelle,
    d.received_on AS eingegangen_am
FROM api.indikatorwerte AS w
JOIN meta.delivery AS d ON contains(';' || w.lieferungen || ';', ';' || d.delivery_id || ';')
WHERE w.indikator = indikator AND w.zeitraum = zeitraum
    AND (w.gebiet = gebiet OR lower(w.gebiet_name) = lower(gebiet))
ORDER BY w.ebene, w.gebiet, d.delivery_id
