{#- Variance in the unit of the z-scores; a missing one stays missing (least would pass over it). -#}
{% macro capped(variance) -%}
CASE WHEN {{ variance }} IS NOT NULL THEN least({{ variance }} / nullif(s.sd * s.sd, 0.0e0), 1.0e9) END
{%- endmacro %}
-- z-scores of the areas that have all figures, and the binomial variance in the same unit.
-- `dim` is what z shrinks to on average when chance has its way again: then the universe spreads more.
SELECT
    p.index_id, p.of_year, p.area_id, p.dimension, p.indicator_id, p.in_universe, p.of_universe_level,
    p.direction, p.share, p.figure, p.interval_method, p.denominator, p.earlier_denominator, s.n, s.mean, s.sd, s.blur,
    p.direction * (p.figure - s.mean) / nullif(s.sd, 0.0e0) AS z,
    1.0e0 / sqrt(1.0e0 + s.blur) AS dim,
    {{ capped('p.variance') }} AS q,
    {{ capped('p.variance_now') }} AS q_now,
    {{ capped('p.variance_then') }} AS q_then
FROM index_input AS p
JOIN index_spread AS s
    ON s.index_id = p.index_id AND s.of_year = p.of_year AND s.dimension = p.dimension
    AND s.indicator_id = p.indicator_id
WHERE p.gap IS NULL
