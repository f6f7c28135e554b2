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
