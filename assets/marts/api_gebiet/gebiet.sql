SELECT area_id AS gebiet, name, level AS ebene, number AS nummer, valid_from AS gueltig_ab, valid_to AS gueltig_bis
FROM mart.area
