{#-
Formulas that several tables use; every argument is an SQL expression of type DOUBLE.

Sources: Wilson 1927; Breslow and Day 1987 (Byar); Garwood 1934 (exact Poisson); Abramowitz and Stegun 1964, 26.2.17.
The comparison with official results stands in docs/reproduction.md.
-#}

{#- 97.5 % and 99.9 % quantiles of the standard normal distribution -#}
{% set z95 = "1.959963984540054e0" %}
{% set z998 = "3.090232306167813e0" %}

{#- Wilson's limits of x of n; the lower one is written without a difference, so nothing cancels out. -#}
{% macro _wilson_root(x, n, z) -%}
{{ z }} * sqrt({{ z }} * {{ z }} + 4.0e0 * {{ x }} * ({{ n }} - {{ x }}) / nullif({{ n }}, 0.0e0))
{%- endmacro %}

{% macro wilson_low(x, n, z) -%}
2.0e0 * {{ x }} * {{ x }} / nullif({{ n }} * (2.0e0 * {{ x }} + {{ z }} * {{ z }} + {{ _wilson_root(x, n, z) }}), 0.0e0)
{%- endmacro %}

{% macro wilson_high(x, n, z) -%}
least((2.0e0 * {{ x }} + {{ z }} * {{ z }} + {{ _wilson_root(x, n, z) }}) / (2.0e0 * ({{ n }} + {{ z }} * {{ z }})), 1.0e0)
{%- endmacro %}

{#- Byar's approximation to the limits of a Poisson count x. -#}
{% macro byar_low(x, z) -%}
greatest(coalesce({{ x }} * power(1.0e0 - 1.0e0 / nullif(9.0e0 * {{ x }}, 0.0e0) - {{ z }} / nullif(3.0e0 * sqrt({{ x }}), 0.0e0), 3.0e0), 0.0e0), 0.0e0)
{%- endmacro %}

{% macro byar_high(x, z) -%}
({{ x }} + 1.0e0) * power(1.0e0 - 1.0e0 / (9.0e0 * ({{ x }} + 1.0e0)) + {{ z }} / (3.0e0 * sqrt({{ x }} + 1.0e0)), 3.0e0)
{%- endmacro %}

{#- Exact Poisson limits of 0 to 9 cases: quantiles of chi-square with 2x and 2x + 2 degrees of freedom, halved. -#}
{% set poisson = {
    "low_95": ["0.0e0", "0.025317807984289876e0", "0.24220927854396496e0", "0.6186721228956014e0", "1.0898653736263249e0", "1.6234863901184207e0", "2.2018942534908508e0", "2.8143630515198654e0", "3.4538321767485014e0", "4.115373097378334e0"],
    "high_95": ["3.6888794541139354e0", "5.571643390938898e0", "7.22468766772396e0", "8.767273069742323e0", "10.241588675403694e0", "11.66833207932267e0", "13.059474022518685e0", "14.422675361702376e0", "15.763189220193313e0", "17.084803451419166e0"],
    "low_998": ["0.0e0", "0.001000500333583534e0", "0.045402017769489544e0", "0.1905333775684032e0", "0.428552413628423e0", "0.7393717319178323e0", "1.1071046602556394e0", "1.5203362603988093e0", "1.9708139217403657e0", "2.452424404363775e0"],
    "high_998": ["6.907755278982137e0", "9.233413476451585e0", "11.228872242412661e0", "13.06224077918807e0", "14.79414922253721e0", "16.454745203680105e0", "18.061636840199064e0", "19.626177395384232e0", "21.15619816583998e0", "22.65737330906293e0"],
} %}

{% macro poisson_limit(x, which) -%}
CASE {{ x }}{% for limit in poisson[which] %} WHEN {{ loop.index0 }} THEN {{ limit }}{% endfor %} END
{%- endmacro %}

{#- Day of the year as a number (month x 100 + day) that is the same every year; the 29th of February counts as the 28th. -#}
{% macro day_of_year(date) -%}
month({{ date }}) * 100 + CASE WHEN month({{ date }}) = 2 THEN least(day({{ date }}), 28) ELSE day({{ date }}) END
{%- endmacro %}

{#- A list of ids separated by ';' without repetitions, in alphabetical order. -#}
{% macro united(ids) -%}
array_to_string(list_sort(list_distinct(string_split({{ ids }}, ';'))), ';')
{%- endmacro %}

{#- Weakest origin as a number, strongest 0. -#}
{% macro origin_rank(origin) -%}
CASE {{ origin }} WHEN 'published' THEN 0 WHEN 'open_data' THEN 1 WHEN 'secondary' THEN 2 WHEN 'inferred' THEN 3 ELSE 4 END
{%- endmacro %}

{% macro origin_of(rank) -%}
CASE {{ rank }} WHEN 0 THEN 'published' WHEN 1 THEN 'open_data' WHEN 2 THEN 'secondary' WHEN 3 THEN 'inferred' ELSE 'constructed' END
{%- endmacro %}

{#- Reference date of the denominator that serves a figure of a day, by the rule of its indicator. -#}
{% macro denominator_date(rule, date) -%}
CASE {{ rule }}
            WHEN 'year_end' THEN make_date(year({{ date }}), 12, 31)
            WHEN 'previous_year_end' THEN make_date(year({{ date }}) - 1, 12, 31)
            ELSE {{ date }} END
{%- endmacro %}

{#-
Every delivered cell behind the figures w of api.indikatorwerte for which a condition holds: their numerator and denominator
(or rate) r, each followed down through the sums it was made of. Names are qualified throughout: this serves macros, too.
-#}
{% macro cells_behind(condition) -%}
WITH RECURSIVE cell AS (
    SELECT
        r.indikator, r.gebiet, r.zeitbezug, r.stichtag, r.rechenweg, r.rolle, r.kennzahl AS measure_id,
        r.auspraegung AS category, r.gebiet AS area_id, r.zeitbezug_anzahl AS period_type,
        r.stichtag_anzahl AS reference_date, CAST(1 AS DOUBLE) AS weight
    FROM api.rechenwege AS r
    JOIN mart.area AS b ON b.area_id = r.gebiet
    WHERE {{ condition }}
    UNION ALL
    SELECT
        c.indikator, c.gebiet, c.zeitbezug, c.stichtag, c.rechenweg, c.rolle, p.part_measure_id, p.part_category,
        p.part_area_id, p.period_type, p.part_reference_date, c.weight * p.weight
    FROM cell AS c
    JOIN meta.figure_part AS p
        ON p.measure_id = c.measure_id AND p.category = c.category AND p.area_id = c.area_id
        AND p.period_type = c.period_type AND p.reference_date = c.reference_date
)

SELECT
    w.indikator, w.gebiet, w.gebiet_name, w.ebene, w.zeitraum, w.wert, w.zaehler, w.nenner, w.datenherkunft,
    d.delivery_id AS lieferung, d.source_title AS quelle, d.publisher AS herausgeber, d.address AS fundstelle,
    d.received_on AS eingegangen_am, c.rechenweg, c.rolle, o.measure_id AS kennzahl, o.category AS auspraegung,
    o.area_id AS teilgebiet, a.name AS teilgebiet_name, o.reference_date AS stichtag, o.value AS anzahl,
    c.weight AS gewicht, s.sheet AS blatt, s.line AS zeile, s.column_number AS spalte, s.column_name AS spaltenname,
    s.received_text AS zelltext, s.correction AS berichtigung
FROM cell AS c
JOIN api.indikatorwerte AS w
    ON w.indikator = c.indikator AND w.gebiet = c.gebiet AND w.zeitbezug = c.zeitbezug AND w.stichtag = c.stichtag
JOIN meta.figure_source AS s
    ON s.measure_id = c.measure_id AND s.category = c.category AND s.area_id = c.area_id
    AND s.period_type = c.period_type AND s.reference_date = c.reference_date
JOIN mart.observation AS o
    ON o.measure_id = c.measure_id AND o.category = c.category AND o.area_id = c.area_id
    AND o.period_type = c.period_type AND o.reference_date = c.reference_date
JOIN mart.area AS a ON a.area_id = o.area_id
JOIN meta.delivery AS d ON d.delivery_id = s.delivery_id
ORDER BY
    w.indikator, w.ebene, w.gebiet, w.stichtag, c.rolle DESC, o.measure_id, o.category, a.sort_key, o.area_id,
    o.reference_date
{%- endmacro %}
