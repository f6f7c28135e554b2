SELECT
    schema_name, object_name AS objekt, column_name AS spalte, data_type AS datentyp, key_part AS schluessel,
    description_de AS bedeutung
FROM meta.data_dictionary
