"""Where the jaw line of iBUG's landmarks runs on ICT-FaceKit's mesh, and where it is seen.

ICT's own landmarks 0-7 and 9-16 are where the cheek turns away in the frontal view, up to 2.5 cm in
front of the mandible's edge.

Found on the mean face: the edge is the ridge between cheek and neck, a few millimetres below its
sharpest line, where the surface faces down as much as to the side; behind the gonion, where the
ridge ends, a smooth curve to 8 mm in front of the ear. The landmarks divide its 18.5 cm from the
height of the eyes to the menton (ICT's own landmark 8) evenly, then move to the nearest vertex.
From each a line runs forward over the cheek, at nearly its own height, up to where the cheek is
seen edge-on at a yaw of about 70 degrees; on the chin it runs up and inwards. The line's vertices
are those nearest to the plane that cuts it. The left side is the mirrored right one.
"""

import numpy as np

# (17, 8) vertices: a row for each landmark, first the mandible's, then 7 over the cheek.
LINES = np.array([
    (8181, 1278, 1883, 1640, 1765, 1637, 1635, 1632),  # 0
    (8135, 1788, 1889, 1050, 2096, 421, 1206, 1155),  # 1
    (8142, 381, 1895, 379, 2095, 2093, 904, 2215),  # 2
    (8860, 1835, 1899, 237, 1666, 938, 409, 506),  # 3
    (755, 756, 758, 759, 935, 761, 771, 178),  # 4
    (844, 763, 765, 227, 2202, 289, 473, 206),  # 5
    (1674, 242, 804, 805, 798, 794, 775, 1439),  # 6
    (1443, 1442, 1441, 1449, 1450, 1451, 1502, 447),  # 7
    (966, 962, 963, 964, 968, 8, 7, 10),  # 8
    (3657, 3656, 3655, 3663, 3664, 3665, 3716, 2688),  # 9
    (3881, 2483, 3045, 3046, 3039, 3035, 3016, 3653),  # 10
    (3085, 3004, 3006, 2468, 4393, 2530, 2714, 2447),  # 11
    (2996, 2997, 2999, 3000, 3175, 3002, 3012, 2419),  # 12
    (9183, 4037, 4099, 2478, 3873, 3178, 2650, 2747),  # 13
    (7415, 2622, 4095, 2620, 4289, 4287, 3145, 4406),  # 14
    (7408, 3991, 4089, 3270, 4290, 2662, 3424, 3374),  # 15
    (8456, 3496, 4083, 3849, 3968, 3846, 3844, 3841),  # 16
])
