-- Of several figures of a calendar year the last one counts, on the same day for all areas: the last day on which at
-- least half as many areas have a value as on the best day of the year, so that a straggler decides nothing.
WITH wanted AS (
    SELECT index_id, indicator_id, 'status' AS role, indicator_id AS figure_id FROM index_indicator_in
    UNION ALL
    SELECT index_id, indicator_id, 'change' AS role, change_indicator_id AS figure_id
    FROM index_indicator_in
    WHERE change_indicator_id IS NOT NULL
),

days AS (
    SELECT
        w.index_id, w.indicator_id, w.role, w.figure_id, year(v.reference_date) AS of_year, v.period_type,
        v.reference_date, count(*) AS areas
    FROM wanted AS w
    JOIN index_in AS i ON i.index_id = w.index_id
    JOIN indicator_value AS v
        ON v.indicator_id = w.figure_id AND v.area_level = i.universe_level AND v.value IS NOT NULL
    GROUP BY
        w.index_id, w.indicator_id, w.role, w.figure_id, year(v.reference_date), v.period_type, v.reference_date
),

served AS (
    SELECT
        index_id, indicator_id, role, figure_id, of_year, period_type, reference_date,
        2 * areas >= max(areas) OVER (PARTITION BY index_id, indicator_id, role, of_year) AS enough
    FROM days
),

ranked AS (
    SELECT
        index_id, indicator_id, role, figure_id, of_year, period_type, reference_date,
        row_number() OVER (
            PARTITION BY index_id, indicator_id, role, of_year ORDER BY reference_date DESC, period_type
        ) AS position
    FROM served
    WHERE enough
)

SELECT index_id, indicator_id, role, figure_id, of_year, period_type, reference_date
FROM ranked
WHERE position = 1
