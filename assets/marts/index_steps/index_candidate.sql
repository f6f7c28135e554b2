{% import "macros.sql" as m %}
-- Years in which the universe has a value of every indicator.
WITH asked AS (
    SELECT index_id, count(*) AS indicators, max(weight) AS top_weight FROM index_indicator_in GROUP BY index_id
),

years AS (
    SELECT d.index_id, d.of_year
    FROM index_day AS d
    JOIN asked AS a ON a.index_id = d.index_id
    WHERE d.role = 'status'
    GROUP BY d.index_id, d.of_year, a.indicators
    HAVING count(*) = a.indicators
),

levels AS (
    SELECT index_id, area_level FROM index_level_in
    UNION
    SELECT index_id, universe_level AS area_level FROM index_in
),

areas AS (
    SELECT
        y.index_id, y.of_year, make_date(y.of_year, 12, 31) AS reference_date, s.area_id, s.level AS area_level,
        s.level = i.universe_level AS of_universe_level, r.area_level IS NOT NULL AS reported,
        e.area_id IS NOT NULL AS excluded, i.minimum_measure, i.minimum_category, i.minimum_value, a.top_weight
    FROM years AS y
    JOIN index_in AS i ON i.index_id = y.index_id
    JOIN asked AS a ON a.index_id = y.index_id
    JOIN levels AS l ON l.index_id = y.index_id
    JOIN area AS s
        ON s.level = l.area_level
        AND (s.valid_from IS NULL OR s.valid_from <= make_date(y.of_year, 12, 31))
        AND (s.valid_to IS NULL OR s.valid_to >= make_date(y.of_year, 12, 31))
    LEFT JOIN index_level_in AS r ON r.index_id = y.index_id AND r.area_level = s.level
    LEFT JOIN index_exclusion_in AS e ON e.index_id = y.index_id AND e.area_id = s.area_id
),

sizes AS (
    SELECT
        c.index_id, c.of_year, c.area_id, o.value, o.is_suppressed, o.origin, o.data_as_of, o.delivery_ids,
        row_number() OVER (
            PARTITION BY c.index_id, c.of_year, c.area_id
            ORDER BY o.value IS NULL, o.reference_date DESC, o.period_type
        ) AS position
    FROM areas AS c
    JOIN observation AS o
        ON o.measure_id = c.minimum_measure AND o.category = c.minimum_category AND o.area_id = c.area_id
        AND year(o.reference_date) = c.of_year
    WHERE c.of_universe_level
)

SELECT
    c.index_id, c.of_year, c.reference_date, c.area_id, c.area_level, c.of_universe_level, c.reported, c.top_weight,
    CASE
        WHEN NOT c.of_universe_level THEN NULL
        WHEN c.excluded THEN 'excluded'
        WHEN s.value < c.minimum_value THEN 'below_minimum'
        WHEN c.minimum_value IS NOT NULL AND s.value IS NULL AND s.is_suppressed THEN 'confidential'
        WHEN c.minimum_value IS NOT NULL AND s.value IS NULL THEN 'missing_indicator'
    END AS refusal,
    CASE WHEN s.area_id IS NOT NULL THEN {{ m.origin_rank('s.origin') }} END AS origin_rank,
    s.data_as_of, s.delivery_ids
FROM areas AS c
LEFT JOIN sizes AS s
    ON s.index_id = c.index_id AND s.of_year = c.of_year AND s.area_id = c.area_id AND s.position = 1
