-- Of several figures of a calendar year the last one counts, on the same day for all areas.
WITH wanted AS (
    SELECT index_id, indicator_id, 'status' AS role, indicator_id AS figure_id FROM index_indicator_in
    UNION ALL
    SELECT index_id, indicator_id, 'change' AS role, change_indicator_id AS figure_id
    FROM index_indicator_in
    WHERE change_indicator_id IS NOT NULL
),

days AS (
    SELECT DISTINCT
        w.index_id, w.indicator_id, w.role, w.figure_id, year(v.reference_date) AS of_year, v.period_type,
        v.reference_date
    FROM wanted AS w
    JOIN index_in AS i ON i.index_id = w.index_id
    JOIN indicator_value AS v
        ON v.indicator_id = w.figure_id AND v.area_level = i.universe_level AND v.value IS NOT NULL
),

ranked AS (
    SELECT
        index_id, indicator_id, role, figure_id, of_year, period_type, reference_date,
        row_number() OVER (
            PARTITION BY index_id, indicator_id, role, of_year ORDER BY reference_date DESC, period_type
        ) AS position
    FROM days
)

SELECT index_id, indicator_id, role, figure_id, of_year, period_type, reference_date
FROM ranked
WHERE position = 1
