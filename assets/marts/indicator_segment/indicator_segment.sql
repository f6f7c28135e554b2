-- Which measure stands in which place of an indicator on a level, and which of its dates serves a period.
WITH used AS (
    SELECT l.indicator_id, l.area_level, i.numerator AS measure_id, i.numerator_category AS category, 'same' AS serves
    FROM indicator_level AS l
    JOIN indicator AS i ON i.indicator_id = l.indicator_id
    WHERE l.figure = 'counts'
    UNION ALL
    SELECT l.indicator_id, l.area_level, i.denominator AS measure_id, i.denominator_category AS category, i.denominator_date AS serves
    FROM indicator_level AS l
    JOIN indicator AS i ON i.indicator_id = l.indicator_id
    WHERE l.figure = 'counts' AND i.denominator IS NOT NULL
    UNION ALL
    SELECT l.indicator_id, l.area_level, l.rate_measure AS measure_id, 'insgesamt' AS category, 'same' AS serves
    FROM indicator_level AS l
    WHERE l.figure = 'rate'
),

-- First day of the numerator's period from which a break of one of these measures acts.
broken AS (
    SELECT DISTINCT
        u.indicator_id, u.area_level,
        CASE u.serves
            WHEN 'year_end' THEN make_date(year(b.reference_date), 1, 1)
            WHEN 'previous_year_end' THEN make_date(year(b.reference_date) + 1, 1, 1)
            ELSE b.reference_date
        END AS since
    FROM used AS u
    JOIN acting_break_in AS b
        ON b.measure_id = u.measure_id AND b.category = u.category AND b.area_level = u.area_level
),

passed AS (
    SELECT f.indicator_id, f.area_id, f.period_type, f.reference_date, count(*) AS breaks
    FROM indicator_figure AS f
    JOIN broken AS b
        ON b.indicator_id = f.indicator_id AND b.area_level = f.area_level AND b.since <= f.reference_date
    GROUP BY f.indicator_id, f.area_id, f.period_type, f.reference_date
),

-- The area itself consists of other parts than before.
moved AS (
    SELECT f.indicator_id, f.area_id, f.period_type, f.reference_date, count(*) AS changes
    FROM indicator_figure AS f
    JOIN extent_change_in AS e ON e.area_id = f.area_id AND e.since <= f.reference_date
    GROUP BY f.indicator_id, f.area_id, f.period_type, f.reference_date
),

-- Every figure of a series that is interrupted somewhere; all others are one stretch.
interrupted AS (
    SELECT indicator_id, area_id, period_type FROM passed
    UNION
    SELECT indicator_id, area_id, period_type FROM moved
),

counted AS (
    SELECT
        f.indicator_id, f.area_id, f.period_type, f.reference_date,
        coalesce(p.breaks, 0) + coalesce(v.changes, 0) AS breaks
    FROM indicator_figure AS f
    JOIN interrupted AS x
        ON x.indicator_id = f.indicator_id AND x.area_id = f.area_id AND x.period_type = f.period_type
    LEFT JOIN passed AS p
        ON p.indicator_id = f.indicator_id AND p.area_id = f.area_id AND p.period_type = f.period_type
        AND p.reference_date = f.reference_date
    LEFT JOIN moved AS v
        ON v.indicator_id = f.indicator_id AND v.area_id = f.area_id AND v.period_type = f.period_type
        AND v.reference_date = f.reference_date
)

SELECT
    indicator_id, area_id, period_type, reference_date,
    CAST(dense_rank() OVER (PARTITION BY indicator_id, area_id, period_type ORDER BY breaks) AS INTEGER) AS segment
FROM counted
