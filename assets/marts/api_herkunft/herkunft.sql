{% import "macros.sql" as m %}
{{ m.cells_behind("r.indikator = indikator AND r.zeitraum = zeitraum AND (r.gebiet = gebiet OR lower(b.name) = lower(gebiet))") }}
