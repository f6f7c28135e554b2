{% import "macros.sql" as m %}
WITH figure AS (
    SELECT
        v.indicator_id, v.area_id, v.period_type, v.reference_date, v.period, i.numerator, i.numerator_category,
        i.denominator, i.denominator_category, i.denominator_period_type, l.rate_measure,
        {{ m.denominator_date("i.denominator_date", "v.reference_date") }} AS denominator_day,
        CASE
            WHEN l.figure = 'rate' THEN 'wie geliefert'
            WHEN i.denominator IS NULL THEN 'Anzahl'
            WHEN i.factor = 1 THEN 'Zähler / Nenner'
            ELSE CAST(CAST(i.factor AS INTEGER) AS VARCHAR) || ' × Zähler / Nenner'
        END AS formula
    FROM mart.indicator_value AS v
    JOIN mart.indicator AS i ON i.indicator_id = v.indicator_id
    JOIN mart.indicator_level AS l ON l.indicator_id = v.indicator_id AND l.area_level = v.area_level
),

part AS (
    SELECT
        f.indicator_id, f.area_id, f.period_type, f.reference_date, f.period, f.formula, 'Zähler' AS role,
        f.numerator AS measure_id, f.numerator_category AS category, f.period_type AS part_type,
        f.reference_date AS part_date
    FROM figure AS f WHERE f.rate_measure IS NULL
    UNION ALL
    SELECT
        f.indicator_id, f.area_id, f.period_type, f.reference_date, f.period, f.formula, 'Nenner', f.denominator,
        f.denominator_category, f.denominator_period_type, f.denominator_day
    FROM figure AS f WHERE f.rate_measure IS NULL AND f.denominator IS NOT NULL
    UNION ALL
    SELECT
        f.indicator_id, f.area_id, f.period_type, f.reference_date, f.period, f.formula, 'Quote', f.rate_measure,
        'insgesamt', f.period_type, f.reference_date
    FROM figure AS f WHERE f.rate_measure IS NOT NULL
)

SELECT
    p.indicator_id AS indikator, p.area_id AS gebiet, p.period_type AS zeitbezug, p.reference_date AS stichtag,
    p.period AS zeitraum, p.formula AS rechenweg, p.role AS rolle, p.measure_id AS kennzahl, p.category AS auspraegung,
    p.part_type AS zeitbezug_anzahl, p.part_date AS stichtag_anzahl, o.value AS anzahl
FROM part AS p
LEFT JOIN mart.observation AS o
    ON o.measure_id = p.measure_id AND o.category = p.category AND o.area_id = p.area_id AND o.period_type = p.part_type
    AND o.reference_date = p.part_date
