{% import "macros.sql" as m %}
{{ m.cells_behind("TRUE") }}
