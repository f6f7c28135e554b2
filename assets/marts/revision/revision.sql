-- Levels on which an indicator is declared otherwise than in the release before. What only decides whether there is a
-- value at all (part_of_whole, small_base) changes no value that is shown in both.
WITH redefined AS (
    SELECT n.indicator_id, n.area_level
    FROM indicator_level AS n
    JOIN indicator AS i ON i.indicator_id = n.indicator_id
    JOIN previous_indicator_level_in AS b ON b.indicator_id = n.indicator_id AND b.area_level = n.area_level
    JOIN previous_indicator_in AS p ON p.indicator_id = n.indicator_id
    WHERE n.figure IS DISTINCT FROM b.figure
        OR n.rate_measure IS DISTINCT FROM b.rate_measure
        OR n.figure = 'counts' AND (
            i.numerator IS DISTINCT FROM p.numerator
            OR i.numerator_category IS DISTINCT FROM p.numerator_category
            OR i.denominator IS DISTINCT FROM p.denominator
            OR i.denominator_category IS DISTINCT FROM p.denominator_category
            OR i.denominator_period_type IS DISTINCT FROM p.denominator_period_type
            OR i.denominator_date IS DISTINCT FROM p.denominator_date
            OR i.factor IS DISTINCT FROM p.factor
        )
),

-- What was shown when other rules held is not told again if it is a small count by today's.
limits AS (
    SELECT i.indicator_id, n.threshold AS numerator_threshold, d.threshold AS denominator_threshold
    FROM indicator AS i
    LEFT JOIN measure AS n ON n.measure_id = i.numerator
    LEFT JOIN measure AS d ON d.measure_id = i.denominator
),

-- Shown in both, and not the same but for the last digits of a double.
changed AS (
    SELECT
        v.indicator_id, v.area_id, v.period_type, v.reference_date, v.area_level, v.period,
        b.value AS value_before, b.numerator AS numerator_before, b.denominator AS denominator_before, v.value AS value_now,
        v.delivery_ids IS DISTINCT FROM b.delivery_ids AS other_delivery,
        v.numerator IS NULL
            OR round(v.numerator, 6) IS DISTINCT FROM round(b.numerator, 6)
            OR round(v.denominator, 6) IS DISTINCT FROM round(b.denominator, 6) AS other_counts
    FROM indicator_value AS v
    JOIN previous_value_in AS b
        ON b.indicator_id = v.indicator_id AND b.area_id = v.area_id AND b.period_type = v.period_type
        AND b.reference_date = v.reference_date
    WHERE abs(v.value - b.value) > 1e-9 * greatest(1.0e0, abs(v.value), abs(b.value))
)

SELECT
    c.indicator_id, c.area_id, c.period_type, c.reference_date, r.release_id, c.area_level, c.period,
    r.previous_release_id, c.value_before, c.numerator_before, c.denominator_before, c.value_now, c.value_now - c.value_before AS difference,
    CASE
        WHEN d.indicator_id IS NOT NULL THEN 'definition'
        WHEN c.other_delivery THEN 'delivery'
        WHEN c.other_counts AND r.rules <> r.previous_rules THEN 'rule'
        ELSE 'code'
    END AS cause
FROM changed AS c
CROSS JOIN run_in AS r
JOIN limits AS t ON t.indicator_id = c.indicator_id
LEFT JOIN redefined AS d ON d.indicator_id = c.indicator_id AND d.area_level = c.area_level
WHERE NOT coalesce(c.numerator_before > 0 AND c.numerator_before < t.numerator_threshold, FALSE)
    AND NOT coalesce(c.denominator_before > 0 AND c.denominator_before < t.denominator_threshold, FALSE)
UNION ALL
SELECT
    b.indicator_id, b.area_id, b.period_type, b.reference_date, b.release_id, b.area_level, b.period,
    b.previous_release_id, b.value_before, b.numerator_before, b.denominator_before, b.value_now, b.difference, b.cause
FROM previous_revision_in AS b
JOIN indicator_value AS v
    ON v.indicator_id = b.indicator_id AND v.area_id = b.area_id AND v.period_type = b.period_type
    AND v.reference_date = b.reference_date AND v.value IS NOT NULL
JOIN limits AS t ON t.indicator_id = b.indicator_id
WHERE NOT coalesce(b.numerator_before > 0 AND b.numerator_before < t.numerator_threshold, FALSE)
    AND NOT coalesce(b.denominator_before > 0 AND b.denominator_before < t.denominator_threshold, FALSE)
