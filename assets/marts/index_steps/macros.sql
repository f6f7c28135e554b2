{#-
Formulas of the composite indexes; every argument is an SQL expression of type DOUBLE.

Source: Abramowitz and Stegun 1964, 26.2.17 (normal distribution function, error below 7.5e-8).
-#}

{#- A sum that does not depend on the order of its rows; scale the argument to about 1, or digits get lost. -#}
{% macro total(x) %}CAST(sum(CAST({{ x }} AS DECIMAL(38, 15))) AS DOUBLE){% endmacro %}

{% macro _upper_tail(x) -%}
{%- set t = "(1.0e0 + 0.2316419e0 * abs(" ~ x ~ "))" -%}
exp(-{{ x }} * {{ x }} / 2.0e0) * 0.3989422804014327e0 / {{ t }} * (0.319381530e0 + (-0.356563782e0
        + (1.781477937e0 + (-1.821255978e0 + 1.330274429e0 / {{ t }}) / {{ t }}) / {{ t }}) / {{ t }})
{%- endmacro %}

{#- Probability that a standard normal variable is at most x. -#}
{% macro phi(x) -%}
CASE WHEN {{ x }} < 0.0e0 THEN {{ _upper_tail(x) }} ELSE 1.0e0 - {{ _upper_tail(x) }} END
{%- endmacro %}
